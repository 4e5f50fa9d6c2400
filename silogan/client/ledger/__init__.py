"""The privacy budget spent on a hospital's patients, its policy, and the audit of both."""
