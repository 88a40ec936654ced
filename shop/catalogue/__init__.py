"""What is for sale, and how much of it there is."""
