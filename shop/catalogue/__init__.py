"""The products that are for sale, and how many pieces of each are on hand."""
