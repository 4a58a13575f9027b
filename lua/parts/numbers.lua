-- Texts of 16-digit numbers, mostly in pairs: what windows and lines are kept as.
local PAIR = 32

local function number_at(text, i)
  return tonumber(string.sub(text, i, i + 15))
end

local digits = clock.text
