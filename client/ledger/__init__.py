"""What has been spent on a hospital's patients, what it allows, and who can check that."""
