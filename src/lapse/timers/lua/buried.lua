-- List what was given up on, the longest buried first.
-- KEYS    graves buried
-- ARGV    limit
-- Output  key, when it was buried, and "attempt:due:reason" for each
local graves, buried = unpack(KEYS)
local answer = {}
local listed = redis.call('ZRANGE', graves, 0, ARGV[1] - 1, 'WITHSCORES')
for i = 1, #listed, 2 do
  answer[#answer + 1] = listed[i]
  answer[#answer + 1] = listed[i + 1]
  answer[#answer + 1] = redis.call('HGET', buried, listed[i]) or ('0:' .. listed[i + 1] .. ':')
end
return answer
