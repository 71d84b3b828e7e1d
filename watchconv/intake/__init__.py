"""Look at the inbox: what is new, whole and left alone?"""
