#!lua
-- Acts on keys that hold a given owner's name: prolongs them, or removes them.
--
-- KEYS: any. ARGV: 1 the owner; 2 milliseconds they live on, 0 removes them. Returns how many were the owner's.
local owned = 0
for i = 1, #KEYS do
  if redis.call('GET', KEYS[i]) == ARGV[1] then
    owned = owned + 1
    if ARGV[2] == '0' then
      redis.call('DEL', KEYS[i])
    else
      redis.call('PEXPIRE', KEYS[i], ARGV[2])
    end
  end
end
return owned
