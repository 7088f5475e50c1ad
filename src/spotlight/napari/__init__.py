"""The napari plugin: widgets that stain, find nuclei, check pairs and compare, a reader and sample data.

It needs the extra ``[napari]``, and uses public names only.
"""
