-- List what was given up on, the longest buried first.
-- KEYS    graves buried
-- ARGV    how many to leave out, how many to list at most
-- Output  key, when it was buried, and "attempt:due:reason" for each
local graves, buried = unpack(KEYS)
local answer = {}
local listed = redis.call('ZRANGEBYSCORE', graves, '-inf', '+inf', 'WITHSCORES', 'LIMIT', ARGV[1], ARGV[2])
for i = 1, #listed, 2 do
  answer[#answer + 1] = listed[i]
  answer[#answer + 1] = listed[i + 1]
  answer[#answer + 1] = redis.call('HGET', buried, listed[i]) or ('0:' .. listed[i + 1] .. ':')
end
return answer
