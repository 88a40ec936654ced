-- Make claimed deadlines pending again, due after a delay. Without a delay they keep their original due times.
-- KEYS    pending leased lease retry
-- ARGV    token, delay in ms, attempts to take back (0 or 1), channel, the keys
-- Output  how many claims were still held
local pending, leased, lease, retry = unpack(KEYS)
local delay, forgiven = tonumber(ARGV[2]), tonumber(ARGV[3])
local now = now_ms()
local owned = held(lease, ARGV[1], now, 5)
if #owned == 0 then
  return 0
end
local before = head(pending)
end_leases(leased, lease, owned)
for _, item in ipairs(owned) do
  local key, attempt, due = unpack(item)
  redis.call('ZADD', pending, delay > 0 and whole(now + delay) or due, key)
  redis.call('HSET', retry, key, whole(attempt - forgiven) .. ':' .. due)
end
wake(ARGV[4], pending, before)
return #owned
