-- Prints what a Redis database holds, for comparing two of them: one line a key, 'type digest expiry name',
-- where expiry is Unix time in ms or -1, and a line 'field' for every hash field that expires. Two databases
-- with the same data give the same lines in some order, whatever encoding or history their values have.

local lines = {}

-- Unambiguous text of any reply.
local function text(v)
  if type(v) == 'string' then return '$' .. #v .. ':' .. v end
  if type(v) ~= 'table' then return '(' .. tostring(v) .. ')' end
  local parts = {}
  for i = 1, #v do parts[i] = text(v[i]) end
  return '[' .. table.concat(parts, ' ') .. ']'
end

local function sorted(list)
  for i = 1, #list do list[i] = text(list[i]) end
  table.sort(list)
  return list
end

local function pairs_of(flat)
  local list = {}
  for i = 1, #flat, 2 do list[#list + 1] = { flat[i], flat[i + 1] } end
  return list
end

local function member(flat, name)
  for i = 1, #flat, 2 do
    if flat[i] == name then return flat[i + 1] end
  end
end

-- How long ago something was read differs by nature; who has what pending, and how often, does not. A group's
-- entries-read is left out, since XREADGROUP replicates without it.
local function stream(key)
  local info = redis.call('XINFO', 'STREAM', key)
  local out = { redis.call('XRANGE', key, '-', '+'), member(info, 'last-generated-id'),
    member(info, 'max-deleted-entry-id'), member(info, 'entries-added') }
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local name, consumers = member(group, 'name'), {}
    for _, c in ipairs(redis.call('XINFO', 'CONSUMERS', key, name)) do
      consumers[#consumers + 1] = { member(c, 'name'), member(c, 'pending') }
    end
    out[#out + 1] = { name, member(group, 'last-delivered-id'), sorted(consumers) }
    for _, p in ipairs(redis.call('XPENDING', key, name, '-', '+', 1000000)) do
      out[#out + 1] = { p[1], p[2], p[4] }
    end
  end
  return out
end

local value = {
  string = function(key) return redis.call('GET', key) end,
  list = function(key) return redis.call('LRANGE', key, 0, -1) end,
  set = function(key) return sorted(redis.call('SMEMBERS', key)) end,
  zset = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end,
  hash = function(key) return sorted(pairs_of(redis.call('HGETALL', key))) end,
  stream = stream,
}

-- Fields expire since Redis 7.4.
local function field_expiries(key)
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local reply = redis.pcall('HPEXPIRETIME', key, 'FIELDS', 1, field)
    if reply.err then return end
    if reply[1] > 0 then
      lines[#lines + 1] = string.format('field - %.0f %s/%s', reply[1], key, field)
    end
  end
end

local cursor = '0'
repeat
  local reply = redis.call('SCAN', cursor, 'COUNT', 1000)
  cursor = reply[1]
  for _, key in ipairs(reply[2]) do
    local kind = redis.call('TYPE', key).ok
    lines[#lines + 1] = string.format('%s %s %.0f %s', kind, redis.sha1hex(text(value[kind](key))),
      redis.call('PEXPIRETIME', key), key)
    if kind == 'hash' then field_expiries(key) end
  end
until cursor == '0'
return lines
