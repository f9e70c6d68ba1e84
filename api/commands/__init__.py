"""Write endpoints: validate, decide, append, answer with a receipt."""
