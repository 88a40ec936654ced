-- Make buried deadlines pending again, due at once.
-- KEYS    pending graves buried
-- ARGV    channel, the keys
-- Output  how many were buried
local pending, buried_at, buried = unpack(KEYS)
local before = head(pending)
local now = now_ms()
local revived = 0
for i = 2, #ARGV do
  local key = ARGV[i]
  local details = redis.call('HGET', buried, key)
  if details then
    local due = tonumber(string.match(details, '^%d+:(-?%d+):'))
    redis.call('ZADD', pending, whole(math.min(due, now)), key)
    redis.call('ZREM', buried_at, key)
    redis.call('HDEL', buried, key)
    revived = revived + 1
  end
end
wake(ARGV[1], pending, before)
return revived
