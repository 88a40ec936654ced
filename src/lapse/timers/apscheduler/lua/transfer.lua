-- Move jobs between the three job stores of one timer, each if its condition holds.
-- KEYS pending pending_times claimed claimed_times buried buried_times
-- ARGV for each job: its id, source ('any', 'none' or a store), the state expected there, target ('none' or a store),
--      the new state, the run time in seconds since 1970 ('' for a paused job)
-- Output: the ids of the jobs that were moved.

local stores = { pending = 1, claimed = 3, buried = 5 }
local moved = {}

for i = 1, #ARGV, 6 do
  local id, source, expected, target, state, run_at = unpack(ARGV, i, i + 5)
  local allowed = true
  if source == 'none' then
    for _, at in pairs(stores) do
      allowed = allowed and redis.call('HEXISTS', KEYS[at], id) == 0
    end
  elseif source ~= 'any' then
    allowed = redis.call('HGET', KEYS[stores[source]], id) == expected
  end
  if allowed then
    for _, at in pairs(stores) do
      if redis.call('HDEL', KEYS[at], id) == 1 or source == 'any' then
        redis.call('ZREM', KEYS[at + 1], id)
      end
    end
    if target ~= 'none' then
      redis.call('HSET', KEYS[stores[target]], id, state)
      if run_at ~= '' then
        redis.call('ZADD', KEYS[stores[target] + 1], run_at, id)
      end
    end
    moved[#moved + 1] = id
  end
end

return moved
