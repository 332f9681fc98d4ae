// params: none
// returns: links
WITH COUNT { ()-->() } - COUNT { ()-[:MEMBER_OF]->() } - COUNT { ()-[:ABOUT]->() } - COUNT { ()-[:SHARES]->() } AS links
RETURN links
LIMIT 1
