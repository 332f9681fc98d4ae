// Latest alerts
// Where to begin: copy an alert's id into `alert`.
// params: tenant
// returns: alert, level, score, text, accounts, amount_minor, ring, last_at
MATCH (a:Alert)
WHERE a.tenant = $tenant AND a.last_seen IS NOT NULL
WITH a ORDER BY a.last_seen DESC LIMIT 50
RETURN a.alert_id AS alert, a.level AS level, a.score AS score, a.text AS text, COUNT { (a)-[:ABOUT]->(:User) } AS accounts,
  a.amount AS amount_minor, a.ring AS ring, a.last_at AS last_at
LIMIT 50
