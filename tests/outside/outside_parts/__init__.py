"""Parts of another package that extend Spotlight, as docs/extending.md shows them."""
