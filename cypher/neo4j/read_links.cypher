// params: uids, scan, kinds, since, until, least, cap, limit
// returns: uid, other, outgoing, first_seen, last_seen, events, amount, fails
UNWIND $uids AS uid
MATCH (e:Entity {uid: uid})
CALL (e) {
  MATCH (e)-[l:!MEMBER_OF&!ABOUT&!SHARES]-(o)
  WITH l, o LIMIT $scan
  WHERE l.last_seen >= $since AND l.last_seen < $until AND l.events >= $least AND ($kinds IS NULL OR o.kind IN $kinds)
  RETURN l, o
  ORDER BY l.last_seen DESC, o.uid LIMIT $cap
}
WITH uid, l, o.uid AS other, startNode(l) = e AS outgoing
RETURN uid, other, outgoing, l.first_seen AS first_seen, l.last_seen AS last_seen, l.events AS events,
  l.amount AS amount, l.fails AS fails
LIMIT $limit
