"""Pages for people: the review page of the local code host."""
