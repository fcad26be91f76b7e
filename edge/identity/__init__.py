"""Who is asking: from a credential to a tenant."""
