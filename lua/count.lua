-- count: add what a replica has counted since its last flush to the usage of today and to that of all time.
--
-- KEYS  1        today      HASH    pool|key|client|model -> what was counted, as `{"requests":3,"ok":2,"input":120}`
--       2        total      HASH    the same since counting began
--       3        flushed    STRING  the number of this replica's latest flush
-- ARGV  now      "" or, in tests, microseconds
--       day      which day KEYS[1] is: days since 1970, UTC
--       number   of this flush: 1 above that of the one before it
--       keep     seconds that a day is kept, then seconds that `flushed` is
--       most     rows of a day or of all time; a row beyond them counts as that of the model `other`
--       rows     count, then each: its field, and what is to be added to it
-- returns        the day it is, by Redis's clock: where that is another than `day` nothing was done, so send it again
-- cost           10 commands whatever the number of rows, and 1 for each row beyond the most
--
-- JSON, because cjson adds up a row in 3 microseconds: with a field for each kind HINCRBY takes 4, and thrice the memory.
-- Counts are exact up to 14 digits, all that cjson writes.
-- A flush whose answer was lost is sent again under its number, and counts once.
--@ use args
local now = args.text()
now = now ~= '' and now / 1000000 or tonumber(redis.call('TIME')[1])
local today = string.format('%.0f', math.floor(now / 86400))
local day, number, keep, keep_flushed, most = args.text(), args.number(), args.text(), args.text(), args.number()
local fields, added = {}, {}
for i = 1, args.number() do
  fields[i], added[i] = args.text(), cjson.decode(args.text())
end

local function sum(text, more)
  local counts = text and cjson.decode(text) or {}
  for kind, count in pairs(more) do
    counts[kind] = (counts[kind] or 0) + count
  end
  return cjson.encode(counts)
end

local function add(hash)
  local size, found, sums, written = redis.call('HLEN', hash), redis.call('HMGET', hash, unpack(fields)), {}, {}
  for i, field in ipairs(fields) do
    local before = found[i]
    if not before and size >= most then
      field = string.match(field, '^[^|]*|[^|]*|[^|]*|') .. 'other'
      before = redis.call('HGET', hash, field)
    elseif not before then
      size = size + 1
    end
    sums[field] = sum(sums[field] or before, added[i])
  end
  for field, text in pairs(sums) do
    written[#written + 1] = field
    written[#written + 1] = text
  end
  redis.call('HSET', hash, unpack(written))
end

if number <= tonumber(redis.call('GET', KEYS[3]) or 0) then
  return day
end
if today == day then
  add(KEYS[1])
  add(KEYS[2])
  redis.call('EXPIRE', KEYS[1], keep)
  redis.call('SET', KEYS[3], number, 'EX', keep_flushed)
end
return today
