// params: none
// returns: nothing
CREATE CONSTRAINT alert_uid IF NOT EXISTS FOR (a:Alert) REQUIRE a.uid IS UNIQUE
