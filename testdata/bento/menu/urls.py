from django.urls import include, path
from rest_framework import routers

from . import views

router = routers.DefaultRouter()
router.register("dishes", views.DishViewSet)

urlpatterns = [
    path("", views.index),
    path("api/", include(router.urls)),
]
