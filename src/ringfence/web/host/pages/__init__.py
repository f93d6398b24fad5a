"""The review pages: HTML and one style sheet, no script at all."""
