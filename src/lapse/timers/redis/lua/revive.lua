-- Bring back what was buried, due at once.
-- KEYS    pending graves buried
-- ARGV    channel, the keys
-- Output  how many were buried
local pending, graves, buried = unpack(KEYS)
local before = head(pending)
local now = now_ms()
local revived = 0
for i = 2, #ARGV do
  local key = ARGV[i]
  local grave = redis.call('HGET', buried, key)
  if grave then
    local due = tonumber(string.match(grave, '^%d+:(-?%d+):'))
    redis.call('ZADD', pending, whole(math.min(due, now)), key)
    redis.call('ZREM', graves, key)
    redis.call('HDEL', buried, key)
    revived = revived + 1
  end
end
wake(ARGV[1], pending, before)
return revived
