"""The page and the API."""

import markdown
from django.shortcuts import render
from django.utils.safestring import mark_safe
from rest_framework import viewsets

from .models import Dish
from .serializers import DishSerializer


def index(request):
    dishes = [(dish, mark_safe(markdown.markdown(dish.description))) for dish in Dish.objects.all()]
    return render(request, "menu/index.html", {"dishes": dishes})


class DishViewSet(viewsets.ModelViewSet):
    queryset = Dish.objects.all()
    serializer_class = DishSerializer
    filterset_fields = ["name"]
