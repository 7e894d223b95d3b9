"""What a broken run left behind: can it be true, is it the same as undisturbed, how long until it went on?"""
