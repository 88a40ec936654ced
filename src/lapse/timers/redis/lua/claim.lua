-- Claim due deadlines, oldest first.
-- KEYS    pending leased lease retry token epoch
-- ARGV    limit, lease in ms, fresh share, name for a new generation
-- Output  {now, when to look again or -1, token, end of the leases, generation, then key, due and attempt for each}
--
-- One script does it all. With two steps, a claimant that died between them would lose the deadlines that it took.
local pending, leased, lease, retry, token_key, generation_key = unpack(KEYS)
local limit, lease_ms, share = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = now_ms()

local generation = redis.call('GET', generation_key)
if not generation then
  generation = ARGV[4]
  redis.call('SET', generation_key, generation)
end

-- Deadlines whose leases have ended are pending again, with their original due times.
local ended = redis.call('ZRANGEBYSCORE', leased, '-inf', now, 'LIMIT', 0, limit)
if #ended > 0 then
  local leases = redis.call('HMGET', lease, unpack(ended))
  for i, key in ipairs(ended) do
    -- A server that evicts keys may have deleted the hash and kept the set. Then the deadline is due now, so it is not
    -- lost.
    local attempt, due = string.match(leases[i] or '', '^%d+:%d+:(%d+):(-?%d+)$')
    due = due or whole(now)
    redis.call('ZADD', pending, due, key)
    redis.call('HSET', retry, key, (attempt or '1') .. ':' .. due)
  end
  redis.call('ZREM', leased, unpack(ended))
  redis.call('HDEL', lease, unpack(ended))
end

-- If more deadlines are due than `limit`, one in `share` is taken from the newest, so that a backlog does not block
-- them.
local due_now = redis.call('ZCOUNT', pending, '-inf', now)
local count = math.min(due_now, limit)
local young = 0
if due_now > limit then
  young = math.floor(limit / share)
end

local taken = {}
if count > 0 then
  taken = redis.call('ZRANGE', pending, 0, count - young - 1, 'WITHSCORES')
  redis.call('ZREMRANGEBYRANK', pending, 0, count - young - 1)
  if young > 0 then
    local first = due_now - count -- the older ones have been removed above
    for _, item in ipairs(redis.call('ZRANGE', pending, first, first + young - 1, 'WITHSCORES')) do
      taken[#taken + 1] = item
    end
    redis.call('ZREMRANGEBYRANK', pending, first, first + young - 1)
  end
end

local ends = whole(now + lease_ms)
local answer = { now, -1, 0, ends, generation }
if count > 0 then
  -- Tokens only grow, even if the server lost the last one: a token is at least the time in microseconds.
  local token = whole(math.max((tonumber(redis.call('GET', token_key)) or 0) + 1, now * 1000))
  redis.call('SET', token_key, token)
  answer[3] = token

  local earlier = nil
  if redis.call('EXISTS', retry) == 1 then
    local keys = {}
    for i = 1, #taken, 2 do
      keys[#keys + 1] = taken[i]
    end
    earlier = redis.call('HMGET', retry, unpack(keys))
    redis.call('HDEL', retry, unpack(keys))
  end

  local scores, leases, opening = {}, {}, token .. ':' .. ends .. ':'
  if redis.call('EXISTS', lease) == 0 then
    -- Redis stores a hash of few and short values as a list, and searches the whole list for each key. One long value
    -- makes the hash a table from the beginning, which halves the work. No deadline has an empty key.
    redis.call('HSET', lease, '', string.rep('-', 65))
  end
  for i = 1, #taken, 2 do
    local key, due, attempt = taken[i], taken[i + 1], 1
    local before = earlier and earlier[(i + 1) / 2]
    if before then
      attempt, due = string.match(before, '^(%d+):(-?%d+)$')
      attempt = whole(attempt + 1)
    end
    scores[i], scores[i + 1] = ends, key
    leases[i], leases[i + 1] = key, opening .. attempt .. ':' .. due
    answer[#answer + 1] = key
    answer[#answer + 1] = due
    answer[#answer + 1] = attempt
  end
  redis.call('ZADD', leased, unpack(scores))
  redis.call('HSET', lease, unpack(leases))
end

-- When to look again: at the next deadline or at the next end of a lease, the earlier of the two.
local next_due = head(pending)
local next_end = tonumber(redis.call('ZRANGE', leased, 0, 0, 'WITHSCORES')[2])
if next_due or next_end then
  answer[2] = whole(math.min(next_due or next_end, next_end or next_due))
end
return answer
