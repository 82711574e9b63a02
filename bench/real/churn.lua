-- churn.lua ROUNDS: tables, strings and closures that come and go.
-- Goal: an interpreter whose every object is a block of malloc's, freed by its collector in pieces.
-- A sum over what lives at the end is printed.

local rounds = tonumber(arg[1])
local seed = 42
local function draw(limit)
	seed = (seed * 1103515245 + 12345) % 2147483648
	return seed // 65536 % limit + 1
end

local kept, total = {}, 0
for round = 1, rounds do
	local people = {}
	for i = 1, 500 do
		local name = "n" .. draw(30000) .. string.rep("x", draw(40))
		people[i] = {
			name = name,
			tags = {name:sub(1, 3), name:upper(), draw(100)},
			greet = function(other) return other .. name end,
		}
	end
	table.sort(people, function(a, b) return a.name < b.name end)
	local parts = {}
	for i = 1, #people, 5 do
		parts[#parts + 1] = people[i].greet(people[i].tags[2])
	end
	local text = table.concat(parts, ",")
	for word in text:gmatch("[^,]+") do
		total = (total * 31 + #word + word:byte(-1)) % 1000000007
	end
	kept[draw(2000)] = people[draw(500)]
	kept[draw(2000)] = text:gsub("n", "m")
end

local people, texts = 0, 0
for i = 1, 2000 do
	if type(kept[i]) == "table" then
		people = people + #kept[i].name
	elseif kept[i] then
		texts = texts + #kept[i]
	end
end
print("sum", total, "people", people, "texts", texts)
