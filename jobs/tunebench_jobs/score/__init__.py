"""Win rates with intervals that say how sure they are, and the leaderboard made of them."""
