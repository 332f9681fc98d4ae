#!lua
-- Results that were emitted for good are kept for a while more; so are the markers of their ids.
--
-- KEYS: outbox; results; as many markers. ARGV: 1 seconds a result lives on; 2 seconds a marker lives on; the ids.
local n = (#KEYS - 1) / 2
for at = 3, #ARGV, 1000 do
  redis.call('HDEL', KEYS[1], unpack(ARGV, at, math.min(at + 999, #ARGV)))
end
for i = 2, n + 1 do
  redis.call('EXPIRE', KEYS[i], ARGV[1])
  redis.call('EXPIRE', KEYS[i + n], ARGV[2])
end
return n
