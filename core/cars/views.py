"""x"""

def home(request):
    return
