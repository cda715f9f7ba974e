// (in work)
