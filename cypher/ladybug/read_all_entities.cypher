// params: uid, limit
// returns: uid, first_seen, last_seen, events, amount, alerts
MATCH (a:Entity)
WHERE a.uid > $uid
OPTIONAL MATCH (a)-[t:Tally]->(:Entity)
WITH a, min(t.first_seen) AS t_first, max(t.last_seen) AS t_last, coalesce(sum(t.events), 0) AS t_events,
     coalesce(sum(t.amount), 0) AS t_amount, coalesce(sum(t.alerts), 0) AS alerts
OPTIONAL MATCH (a)<-[l:Linked]-(:Entity)
WITH a.uid AS uid, t_first, t_last, t_events, t_amount, alerts, min(l.first_seen) AS l_first,
     max(l.last_seen) AS l_last, coalesce(sum(l.events), 0) AS l_events, coalesce(sum(l.amount), 0) AS l_amount
RETURN uid, CASE WHEN l_first IS NULL OR t_first < l_first THEN t_first ELSE l_first END AS first_seen,
       CASE WHEN l_last IS NULL OR t_last > l_last THEN t_last ELSE l_last END AS last_seen,
       CAST(t_events + l_events AS INT64) AS events, CAST(t_amount + l_amount AS INT64) AS amount,
       CAST(alerts AS INT64) AS alerts
ORDER BY uid
LIMIT $limit
