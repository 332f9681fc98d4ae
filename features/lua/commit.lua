#!lua
-- Writes a batch if nothing it read has changed, else nothing.
--
-- KEYS: epoch, hold, began, signups, outbox; markers of new ids; results of the first of them; records that were read (those
--   to write first); crowded records to write.
-- ARGV: 1 epoch expected ('' = none); 2 epoch to set when there is none; 3 time the stream began ('' = known);
--   4 sign-ups to add; 5 seconds a marker lives; 6 seconds a result lives; 7 seconds a record lives (0 = for ever);
--   8 markers; 9 results; 10 records; 11 records to write; 12 crowded records; 13 versions of the records, 14 of the crowded
--   ones (8 bytes each, zero = absent); then values of the markers, results, outbox (id and value in turn), records, crowded.
-- Returns 1 written; 2 an id was applied meanwhile; 3 a record was changed meanwhile; 4 the epoch is gone; 5 the epoch is
--   another one; 6 held; or the crowded records as they are now, when only they were changed.
local STEP = 1000

local function mget(first, count)
  local all = {}
  for at = first, first + count - 1, STEP do
    local last = math.min(at + STEP, first + count) - 1
    local part = redis.call('MGET', unpack(KEYS, at, last))
    for i = 1, last - at + 1 do
      all[#all + 1] = part[i]
    end
  end
  return all
end

local function same(values, versions)
  for i = 1, #values do
    local version = values[i] and string.sub(values[i], 1, 8) or '\0\0\0\0\0\0\0\0'
    if version ~= string.sub(versions, 8 * i - 7, 8 * i) then
      return false
    end
  end
  return true
end

local function write(key, arg, count, ttl_s)
  for at = 0, count - 1, STEP do
    local pairs_ = {}
    for i = at, math.min(at + STEP, count) - 1 do
      pairs_[#pairs_ + 1] = KEYS[key + i]
      pairs_[#pairs_ + 1] = ARGV[arg + i]
    end
    redis.call('MSET', unpack(pairs_))
  end
  if ttl_s > 0 then
    for i = 0, count - 1 do
      redis.call('EXPIRE', KEYS[key + i], ttl_s)
    end
  end
end

local head = redis.call('MGET', KEYS[1], KEYS[2])
if head[2] then
  return 6
end
if ARGV[1] ~= '' and not head[1] then
  return 4
end
if (head[1] or '') ~= ARGV[1] then
  return 5
end

local markers, results, records = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local writes, crowded = tonumber(ARGV[11]), tonumber(ARGV[12])
local marker_key = 6
local result_key = marker_key + markers
local record_key = result_key + results
local crowded_key = record_key + records
for at = marker_key, result_key - 1, STEP do
  if redis.call('EXISTS', unpack(KEYS, at, math.min(at + STEP, result_key) - 1)) > 0 then
    return 2
  end
end
if not same(mget(record_key, records), ARGV[13]) then
  return 3
end
local current = mget(crowded_key, crowded)
if not same(current, ARGV[14]) then
  return current
end

local marker_arg = 15
local result_arg = marker_arg + markers
local outbox_arg = result_arg + results
local record_arg = outbox_arg + 2 * results
local ttl_s = tonumber(ARGV[7])
write(record_key, record_arg, writes, ttl_s)
write(crowded_key, record_arg + writes, crowded, ttl_s)
for i = 0, markers - 1 do
  redis.call('SET', KEYS[marker_key + i], ARGV[marker_arg + i], 'EX', ARGV[5])
end
for i = 0, results - 1 do
  redis.call('SET', KEYS[result_key + i], ARGV[result_arg + i], 'EX', ARGV[6])
end
for at = 0, 2 * results - 1, 2 * STEP do
  redis.call('HSET', KEYS[5], unpack(ARGV, outbox_arg + at, outbox_arg + math.min(at + 2 * STEP, 2 * results) - 1))
end
if not head[1] then
  redis.call('SET', KEYS[1], ARGV[2])
end
if ARGV[3] ~= '' then
  redis.call('SETNX', KEYS[3], ARGV[3])
end
if ARGV[4] ~= '0' then
  redis.call('INCRBY', KEYS[4], ARGV[4])
end
return 1
