-- This text is put before every script of this package, and of other packages that have scripts.
--
-- The keys of a shard. All have one hash tag, so that a script stays in one slot of a cluster. The line KEYS in the
-- header of each script has these stored names. Two of them differ from the words of the code:
--   pending  sorted set   key -> when it may be handed out, ms since 1970
--   leased   sorted set   key -> when its lease ends
--   lease    hash         key -> "token:ends:attempt:due", and a long value at '' that makes the hash a table
--   retry    hash         key -> "attempt:due", only for pending keys that were handed out before
--  `graves`  sorted set   key -> when it was buried. The code says buried_at
--   buried   hash         key -> "attempt:due:reason"
--   token    string       the highest token handed out
--   epoch    string       a name that is lost together with the shard's data. The code says generation

-- The server's time in whole milliseconds, rounded down. Deadlines were rounded up, so none is early.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- When a key expires, ms since 1970; -1: never; -2: there is no such key. If the key's time has come, reading it here
-- makes Redis delete the key and send the event. PEXPIRETIME needs Redis 7.0. An older server returns the remaining
-- time, and the clock is read after that, so the sum is never too early.
local has_pexpiretime = true
local function expires_at(key)
  if has_pexpiretime then
    local at = redis.pcall('PEXPIRETIME', key)
    if type(at) == 'number' then
      return at
    end
    has_pexpiretime = false
  end
  local left = redis.call('PTTL', key)
  return left < 0 and left or now_ms() + left
end

-- A number as Redis must receive it: Lua would write large numbers as 1.7e+12.
local function whole(number)
  return string.format('%.0f', number)
end

-- The keys ARGV[first..] whose lease has this token and has not ended: {{key, attempt, due}, ...}.
local function held(lease, token, now, first)
  local owned = {}
  if #ARGV < first then
    return owned
  end
  local leases = redis.call('HMGET', lease, unpack(ARGV, first))
  for i, value in ipairs(leases) do
    if value then
      local holder, ends, attempt, due = string.match(value, '^(%d+):(%d+):(%d+):(-?%d+)$')
      if holder == token and tonumber(ends) > now then
        owned[#owned + 1] = { ARGV[first + i - 1], attempt, due }
      end
    end
  end
  return owned
end

-- Give up the leases on the owned keys.
local function end_leases(leased, lease, owned)
  local keys = {}
  for i, item in ipairs(owned) do
    keys[i] = item[1]
  end
  redis.call('ZREM', leased, unpack(keys))
  redis.call('HDEL', lease, unpack(keys))
end

-- When the first pending deadline may be handed out, or nil.
local function head(pending)
  return tonumber(redis.call('ZRANGE', pending, 0, 0, 'WITHSCORES')[2])
end

-- Wake the claimants that sleep until `before`, if a deadline is due earlier now.
local function wake(channel, pending, before)
  local after = head(pending)
  if after and (not before or after < before) then
    redis.call('PUBLISH', channel, whole(after))
  end
end
