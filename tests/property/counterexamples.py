"""Shrunk histories, each by the mistake in the Lua that it tells from the truth (see test_mutations)."""

HISTORIES: dict[str, list[int]] = {
    "entries trimmed at now - window": [3, 195, 256, 387, 245571],
    "entries trimmed by count": [3, 3, 3, 131, 131, 707, 53443, 396131331],
    "the guard forgotten": [3, 256, 67],
    "last is the latest place, not the highest": [295315, 506749, 480019, 480019, 2595, 5283, 233, 659, 3, 403],
    "tried kept by key, not by target and key": [131, 617843],
    "a rest ended by a request that did not set it": [21421, 112877],
    "a proved rest taken back": [115133, 112877],
    "a later rest shortened": [4493, 717],
    "a skipped key keeps all the turns it missed": [58093, 147, 371, 1559891, 176595, 131, 131],
    "nobody is woken": [3, 3, 67, 3, 43, 4447955],
    "a parked key is not looked up again": [3, 3, 3, 83, 131, 179, 343923],
    "a withdrawn grant keeps its budget": [3, 13, 12],
    "a reservation does not look at those that came late": [3, 127, 3, 12],
    "a late grant looks at nothing": [3, 3, 9, 3, 12],
    "a late grant looks at the reservations behind it": [3, 3, 3, 67, 12, 12, 35, 112, 154172, 35, 195, 235, 12],
    "a late grant keeps its moment": [3, 64, 12],
    "the model's rest forgotten": [397, 131],
    "the clock goes back": [3, 10, 3],
    "numbers skip where a wait is refused": [3, 4294967293, 515523907, 115244803],
}
