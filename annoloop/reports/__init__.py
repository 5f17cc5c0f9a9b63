"""Pictures, charts and HTML pages: what a person looks at rather than reads."""
