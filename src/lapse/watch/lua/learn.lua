-- Write the present state of the shop's keys into the ledger. A watcher has noticed that the keys changed.
-- KEYS    pending leased lease retry graves buried fired
-- ARGV    channel, prefix, how long ago a firing is still remembered in ms, then a hint and a key for each
-- Output  {armed, disarmed, a key that expires too late to be right or '', in how many ms it expires}
--
-- The shop's keys that are read are `prefix` .. key. KEYS does not have these names, so this runs on no cluster.
-- A hint is about a key that is gone: 'x' the key expired, 'd' it was deleted, 'w' it is in the ledger and
-- disappeared while no watcher ran, '?' nothing is known. If the key exists, its state counts more than any hint.
local pending, leased, lease, retry, buried_at, buried, fired = unpack(KEYS)
local prefix, remembered = ARGV[2], tonumber(ARGV[3])
local now = now_ms()
local before = head(pending)
local keys = {}
for i = 5, #ARGV, 2 do
  keys[#keys + 1] = ARGV[i]
end
local known = redis.call('ZMSCORE', pending, unpack(keys))

local armed, stale, gone = {}, {}, {}
local far_key, far = '', 10 * 365.2425 * 86400 * 1000
local function arm(key, due)
  armed[#armed + 1] = due
  armed[#armed + 1] = key
  stale[#stale + 1] = key
end

for i, key in ipairs(keys) do
  local hint, was = ARGV[2 * i + 2], tonumber(known[i] or nil)
  local expires = expires_at(prefix .. key)
  if expires >= 0 then
    -- A key exists up to and including the millisecond at which it expires.
    if expires - now > far then
      far_key, far = key, expires - now
    end
    if was ~= expires + 1 then
      arm(key, whole(expires + 1))
    end
  elseif expires == -1 or hint == 'd' then
    gone[#gone + 1] = key
  elseif hint == 'x' and was then
    -- The ledger has a later time. A deadline that waits for its next attempt keeps that time.
    if was > now and redis.call('HEXISTS', retry, key) == 0 then
      arm(key, whole(now))
    end
  elseif hint == 'x' then
    -- The key expired before the ledger had it, unless the deadline has fired or is about to fire.
    local at = tonumber(redis.call('ZSCORE', fired, key) or nil)
    local known_otherwise = redis.call('ZSCORE', leased, key) or redis.call('ZSCORE', buried_at, key)
    if not known_otherwise and not (at and at > now - remembered) then
      arm(key, whole(now))
    end
  elseif hint == 'w' and was and was > now and redis.call('HEXISTS', retry, key) == 0 then
    gone[#gone + 1] = key
  end
end

for _, key in ipairs(gone) do
  stale[#stale + 1] = key
end
if #stale > 0 then
  redis.call('ZREM', leased, unpack(stale))
  redis.call('HDEL', lease, unpack(stale))
  redis.call('HDEL', retry, unpack(stale))
  redis.call('ZREM', buried_at, unpack(stale))
  redis.call('HDEL', buried, unpack(stale))
  redis.call('ZREM', fired, unpack(stale))
end
if #gone > 0 then
  redis.call('ZREM', pending, unpack(gone))
end
if #armed > 0 then
  redis.call('ZADD', pending, unpack(armed))
  wake(ARGV[1], pending, before)
end
return { #armed / 2, #gone, far_key, whole(far) }
