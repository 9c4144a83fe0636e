"""Plans and carries out benchmark runs."""
