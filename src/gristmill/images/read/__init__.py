"""Images of records over REST: as they are, or as thumbnails."""
