-- Delete claimed deadlines: their work is done.
-- KEYS    leased lease
-- ARGV    token, the keys
-- Output  how many claims were still held
local leased, lease = unpack(KEYS)
local owned = held(lease, ARGV[1], now_ms(), 2)
if #owned > 0 then
  end_leases(leased, lease, owned)
end
return #owned
