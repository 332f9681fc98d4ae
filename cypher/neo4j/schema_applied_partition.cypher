// params: none
// returns: nothing
CREATE CONSTRAINT applied_partition IF NOT EXISTS FOR (p:Applied) REQUIRE p.partition IS UNIQUE
