"""What is made of the replies of a round."""
