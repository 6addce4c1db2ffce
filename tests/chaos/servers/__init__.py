"""What a chaos run starts beside the product: servers, links and clocks that can be made to fail.

Each file stands alone; `stage.py` puts them together.
"""
