// params: uids, scan, kinds, since, until, least, limit
// returns: uid, wanted
UNWIND $uids AS uid
MATCH (e:Entity {uid: uid})
CALL (e) {
  MATCH (e)-[l:!MEMBER_OF&!ABOUT&!SHARES]-(o)
  WITH l, o LIMIT $scan
  WHERE l.last_seen >= $since AND l.last_seen < $until AND l.events >= $least AND ($kinds IS NULL OR o.kind IN $kinds)
  RETURN count(*) AS wanted
}
RETURN uid, wanted
LIMIT $limit
