-- Many requests in one call, each all or nothing; the arithmetic of edge/limits/bucket.py, on the server's own clock.
--
-- KEYS  the buckets of the first request, then of the second, and so on
-- ARGV  for each request: how many buckets, whether it is owed anyway (1) or asked for (0), and then for each bucket:
--       debit, tolerance and the least level that the caller knows of, in microseconds
-- gives for each request: whether it was admitted (1) or not (0), then each bucket's level after that
--
-- A key holds the time at which its bucket is full, and goes when that has passed. Numbers are written by hand: Lua's
-- own text of a number has 14 digits, a time in microseconds 16.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local levels, limits = {}, {}
local changed, answer = {}, {}

local function level_of(key, tolerance, least)
  local level = levels[key]
  if level == nil then
    level = tonumber(redis.call('GET', key) or 0) - now
    limits[key] = 2 * tolerance
  end
  level = math.min(math.max(level, least, 0), limits[key])
  levels[key] = level
  return level
end

local key, arg = 0, 1
while arg <= #ARGV do
  local count, owed = tonumber(ARGV[arg]), ARGV[arg + 1] == '1'
  local fits = true
  for i = 0, count - 1 do
    local at = arg + 2 + 3 * i
    local tolerance = tonumber(ARGV[at + 1])
    local level = level_of(KEYS[key + 1 + i], tolerance, tonumber(ARGV[at + 2]))
    fits = fits and level + tonumber(ARGV[at]) <= tolerance
  end
  local admitted = owed or fits
  answer[#answer + 1] = admitted and 1 or 0
  for i = 0, count - 1 do
    local name = KEYS[key + 1 + i]
    if admitted then
      local level = levels[name] + tonumber(ARGV[arg + 2 + 3 * i])
      levels[name] = math.min(math.max(level, 0), limits[name])
      changed[name] = true
    end
    answer[#answer + 1] = levels[name]
  end
  key, arg = key + count, arg + 2 + 3 * count
end

for name in pairs(changed) do
  local level = levels[name]
  if level > 0 then
    redis.call('SET', name, string.format('%.0f', now + level), 'PX', math.ceil(level / 1000) + 1)
  else
    redis.call('DEL', name)
  end
end
return answer
