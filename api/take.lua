#!lua
-- Takes one request out of a caller's bucket, or says how long it has to wait. The server's own clock, so that all processes have one.
--
-- KEYS: the caller's. ARGV: 1 microseconds until one more request fits; 2 requests that fit at once.
-- Returns 0 when it was taken, else microseconds until it would be.
local time = redis.call('TIME')
local now, each, most = time[1] * 1000000 + time[2], tonumber(ARGV[1]), tonumber(ARGV[2])
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now) + each
local wait = full_at - now - each * most
if wait > 0 then
  return math.ceil(wait)
end
redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000) + 1)
return 0
