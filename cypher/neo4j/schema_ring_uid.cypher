// params: none
// returns: nothing
CREATE CONSTRAINT ring_uid IF NOT EXISTS FOR (r:Ring) REQUIRE r.uid IS UNIQUE
