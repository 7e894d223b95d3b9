"""What tests of the survey and the explorer stand on: lakes with sites, and a browser."""
