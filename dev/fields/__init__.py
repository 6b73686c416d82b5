"""Generates the tables of fields and flags in lab/config/fields: python3 -m dev.fields."""
