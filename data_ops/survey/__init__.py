"""Survey: what a store's corpus is made of, source by source and site by site, and what curation takes out of it."""
