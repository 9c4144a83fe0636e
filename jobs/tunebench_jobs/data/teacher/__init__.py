"""Models that make training data: a teacher that writes answers, a judge that scores them."""
