"""The add-ons: objects that the lab itself creates in the cluster, and the images that their pods run from.

To add one, write a module that returns its objects, and add an entry to `table.ADDONS`.
"""
